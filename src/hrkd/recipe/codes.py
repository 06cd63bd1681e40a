"""Every code of a finding of ``hrkd check``, declared once: what it is called, how grave it is, what it means.

Codes are stable: one that is no longer found is never given to something else. D0: the recipe and what it names; D1:
labels; D2: texts; D3: domains; D4: splits and measuring; D9: remarks.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

from hrkd.errors import RecipeError
from hrkd.support.messages import suggestion

__all__ = ["CODES", "SEVERITIES", "Code", "Severity", "code_of", "ignore_problems"]

Severity = Literal["error", "warning", "note"]
SEVERITIES: dict[Severity, str] = {
    "error": "a run would refuse these",
    "warning": "a run goes ahead, and may be worth less than it could be",
    "note": "good to know",
}


@dataclass(frozen=True)
class Code:
    """``means``: what is found, and when; ``matters``: why; ``advice``: what to do."""

    code: str
    title: str
    severity: Severity
    means: str
    matters: str
    advice: str

    def __str__(self) -> str:
        """All of it, for a person."""
        parts = {"": self.means, "Why it matters: ": self.matters, "What to do: ": self.advice}
        head = f"{self.code}  {self.title} ({self.severity}: {SEVERITIES[self.severity]})"
        if self.severity == "error":
            last = "Errors cannot be left out."
        else:
            last = f"To leave it out: data.ignore: [{self.code}] in the recipe, or --data.ignore {self.code}."
        return "\n\n".join([head, *(f"{name}{text}" for name, text in parts.items()), last])


_ALL = (
    Code(
        "D001",
        "a field of the recipe is wrong",
        "error",
        "A field is unknown, has a value that it cannot have, or contradicts another one. File and line are told.",
        "Nothing of the recipe is used as long as a part of it is wrong.",
        "Correct the field. `hrkd compress --help` lists all, `hrkd recipe --schema` prints them for editors.",
    ),
    Code(
        "D002",
        "a file, folder or model that the recipe names cannot be used",
        "error",
        "It is not there, is damaged, or may not be read or written.",
        "A run needs it, and would end there.",
        "Correct the name, or bring it back.",
    ),
    Code(
        "D003",
        "the table cannot be read as the recipe says",
        "error",
        "The file is of another kind or encoding, its rows have no common shape, or a column is missing or of no use.",
        "No row can be taken from it.",
        "Name the columns (data.text, data.label, data.domain), or mend the file as the message says.",
    ),
    Code(
        "D004",
        "the rows cannot be split into train, dev and test",
        "error",
        "A domain has no row in one of these parts, a label of dev or test is not in train, or the split that the data "
        "or the recipe gives does not fit the rows.",
        "A student is trained on train, chosen on dev and measured on test, of every domain.",
        "Add rows, leave a domain out (data.domains), or change the split.",
    ),
    Code(
        "D005",
        "teacher, student and data do not fit each other",
        "error",
        "Small copies of the models were tried, as before every run, and something does not go together.",
        "The run would end before its first step.",
        "Change the field that the message names.",
    ),
    Code(
        "D101",
        "labels are alike but for case, white space or unseen characters",
        "warning",
        "Two labels read the same to a person: 'good' and 'Good', or one with a zero-width character inside.",
        "They are two classes to the model, which cannot be told apart by what texts say.",
        "Write them alike if they are the same.",
    ),
    Code(
        "D102",
        "a label looks misspelt",
        "warning",
        "A label of very few rows is one or two letters away from a frequent one.",
        "A misspelling is a class of its own: it lowers every figure, and a model learns to give it.",
        "Correct it, if it is the same.",
    ),
    Code(
        "D103",
        "equal texts have different labels",
        "warning",
        "Rows of one domain whose texts differ in case and white space at most have different labels.",
        "No model can be right about all of them: they set a limit to every accuracy, and teach contradictions.",
        "Look at these rows; correct the labels or keep one row of each text.",
    ),
    Code(
        "D104",
        "a class is rare",
        "warning",
        "A label has fewer than 10 rows to learn from, or fewer than 5 to be measured by, in a domain.",
        "So few rows teach little, and one row more or less that is right moves the class's score by a fifth or more.",
        "Add rows of it, merge it with another class, or do not rely on its score in this domain.",
    ),
    Code(
        "D105",
        "a domain lacks a class",
        "warning",
        "A label of other domains has no row at all in this one.",
        "The head of the domain never sees the class; if texts of it come later, it will not find them.",
        "Add rows of it, if such texts can occur in this domain; else leave this out.",
    ),
    Code(
        "D106",
        "nearly all rows have one label",
        "warning",
        "One label makes up more than 90 % of a domain.",
        "A model that always gives this label looks accurate. Macro F1 shows it, accuracy does not.",
        "Add rows of the other labels, and read macro F1 (`hrkd evaluate` shows it).",
    ),
    Code(
        "D107",
        "white space around labels",
        "note",
        "Labels with blanks before or behind them count as the same without these.",
        "Nothing is lost in hrkd; other programs may take them for labels of their own.",
        "Nothing has to be done; stripping them where the table is made is better.",
    ),
    Code(
        "D108",
        "all rows have the same label",
        "error",
        "There is one class only.",
        "A classifier needs two or more.",
        "Name the column with the classes (data.label), or add rows of other classes.",
    ),
    Code(
        "D109",
        "words say nothing about the labels",
        "warning",
        "Logistic regression on TF-IDF is no better on dev than giving every text its domain's most frequent label.",
        "Even of short texts a linear model learns something. Labels may be shuffled, or it is another column.",
        "Look at some rows: do text and label belong together? Are data.text and data.label the right columns?",
    ),
    Code(
        "D201",
        "empty texts",
        "error",
        "The text (or the second text of a pair) is empty, white space or null.",
        "There is nothing to classify, and no answer would be right.",
        "Fill these texts in, or remove the rows.",
    ),
    Code(
        "D202",
        "empty or broken values",
        "error",
        "A label, domain, split or id is missing, or a value is a list, bytes or damaged text.",
        "A row without its label or domain cannot be learnt from; hrkd drops no rows by itself.",
        "Fill these values in, or remove the rows.",
    ),
    Code(
        "D203",
        "nearly empty texts",
        "warning",
        "A text has fewer than three letters or digits, and no symbol or ideograph that could stand for a word.",
        "Such texts ('-', 'na', '?!') say nothing, but have a label, which is learnt.",
        "Look at these rows; remove them if they are placeholders.",
    ),
    Code(
        "D204",
        "texts stand there several times",
        "note",
        "A domain has copies of a text, with the same label.",
        "Copies count several times in training. They never stand on two sides of the split.",
        "Remove the copies, if they are no independent observations.",
    ),
    Code(
        "D205",
        "a text stands in several domains",
        "warning",
        "Texts that differ in case and white space at most stand in more than one domain.",
        "Such a text teaches domains to be alike; where its labels differ, the domain alone decides them.",
        "Keep the text in the domain that it belongs to, if it belongs to one.",
    ),
    Code(
        "D206",
        "texts are cut",
        "warning",
        "More than 5 % of the tokens of a domain are behind data.max_length and are not read as data.keep has it. "
        "Without a tokenizer at hand words are counted: 1.3 tokens each, a rule of thumb for English.",
        "What is not read cannot be learnt, and opinions often stand at the end.",
        "Raise data.max_length, or choose what is kept (data.keep: head_tail, tail or windows).",
    ),
    Code(
        "D207",
        "texts look decoded wrongly",
        "warning",
        "A text has control characters, the sign for bytes that could not be decoded, or pairs of letters that UTF-8 "
        "gives where it is read as something else ('Ã©' in the place of 'é').",
        "Such words are not the ones that the teacher knows, nor those that the student is asked about later.",
        "Write the table anew as UTF-8 from where the texts are whole.",
    ),
    Code(
        "D301",
        "domains are alike but for case, white space or unseen characters",
        "warning",
        "The names of two domains read the same to a person.",
        "Each has a head of its own and is measured by itself.",
        "Write them alike if they are the same.",
    ),
    Code(
        "D302",
        "a domain looks misspelt",
        "warning",
        "A domain of very few rows is one or two letters away from a large one.",
        "It gets a head of its own, which has hardly anything to learn from.",
        "Correct the name, if it is the same.",
    ),
    Code(
        "D303",
        "a domain is nearly empty",
        "warning",
        "A domain has fewer than 50 rows to train on.",
        "Its head learns little, and what is measured of it hardly means anything. Its rare classes and its few rows "
        "of dev and test (D104, D403) are not told besides.",
        "Add rows, merge it with a domain that is like it, or leave it out (data.domains).",
    ),
    Code(
        "D304",
        "a domain has too few rows for a run",
        "error",
        "A domain has fewer train rows than a step takes of every domain (batch_size), or too few different texts for "
        "train, dev and test.",
        "Every step takes rows of every domain, and each is measured.",
        "Add rows, merge it with a domain that is like it, leave it out (data.domains), or lower batch_size.",
    ),
    Code(
        "D305",
        "domains are of very different size",
        "warning",
        "The largest domain has more than 20 times the train rows of the smallest.",
        "An epoch goes once through the largest; rows of the smallest come as many times, and are learnt by heart.",
        "Add rows to the small domain, thin out the large one, or merge the small one with one that is like it.",
    ),
    Code(
        "D306",
        "domains that words do not tell apart",
        "warning",
        "A linear model on TF-IDF, cross-validated, tells texts of two domains apart no better than a coin (with 95 % "
        "confidence in less than 60 % of cases).",
        "Their names may be mixed up, or they are one domain: then each head learns from half of the rows for nothing.",
        "Look at some rows of both; merge them, or correct the column of the domain.",
    ),
    Code(
        "D307",
        "there is one domain",
        "note",
        "All rows belong to one domain.",
        "Everything works, but relating domains gives nothing.",
        "Nothing; or name the column with the domains (data.domain).",
    ),
    Code(
        "D308",
        "white space around domains",
        "note",
        "Names of domains with blanks before or behind them count as the same without these.",
        "Nothing is lost in hrkd; other programs may take them for domains of their own.",
        "Nothing has to be done; stripping them where the table is made is better.",
    ),
    Code(
        "D401",
        "the given split has copies on two sides",
        "warning",
        "The split that the data (or data.splits_file) gives has train or dev rows whose text also stands in test, or "
        "train rows whose text stands in dev. They are taken off train and dev; test stays as it is.",
        "Copies that were seen in training make every figure too good, also those that others published on this split.",
        "Nothing for hrkd. Figures of other programs on the same files are not comparable.",
    ),
    Code(
        "D402",
        "dev and test do not show a difference of a point",
        "note",
        "The 95 % interval of an accuracy on these rows, such as that of the linear model, is wider than a point.",
        "Differences that are smaller than the interval are noise. Ten thousand rows show about one point.",
        "Compare models on the same rows (hrkd compare pairs them), over several seeds, and read the intervals.",
    ),
    Code(
        "D403",
        "too few rows to measure a domain by",
        "warning",
        "A domain has fewer than 30 rows in dev or test.",
        "One row more that is right moves its score by more than three points; epochs are chosen by such scores.",
        "Add rows, or give dev and test larger shares (data.dev, data.test).",
    ),
    Code(
        "D404",
        "a label is measured that its domain never learns",
        "warning",
        "Dev or test of a domain has a label that its train rows lack.",
        "The domain's head is asked for a class that it never saw.",
        "Add train rows of it, or let hrkd draw the split.",
    ),
    Code(
        "D405",
        "the teacher may have seen dev and test",
        "note",
        "The teacher (teacher.fine_tuned) does not say which rows it was trained on, and dev or test are drawn here.",
        "Where it has seen them, its own figures there are too good, and what a student keeps of them looks too "
        "little. The student's own figures are not touched.",
        "Name the split that the teacher was trained on: a column in data.split, or data.splits_file.",
    ),
    Code(
        "D901",
        "what was noticed in reading",
        "note",
        "Something about the files or columns that can be meant as it is: parts told by names of files, a column that "
        "says train, dev and test and is not used, and the like.",
        "If it is not meant so, other rows are used than you think.",
        "Read the line, and change the recipe if it is not meant so.",
    ),
    Code(
        "D902",
        "what words alone reach",
        "note",
        "The accuracy on dev of logistic regression on TF-IDF, the best of its forms.",
        "It is trained in seconds. A student that is not above it is not worth its cost.",
        "Hold the figures of teacher and student against it; every run measures it too. Where one is not above it, let "
        "both read more of each text (data.max_length), train the teacher longer or take a larger one, then distil "
        "longer or on more text (data.unlabelled); or use the linear model.",
    ),
    Code(
        "D903",
        "models were not tried",
        "note",
        "Models that have to be fetched first, and students whose size is found by timing, are looked at when a run "
        "starts.",
        "A name that the hub does not know, or a speed that no student has, is found out only then.",
        "Nothing has to be done: the run fetches and tries them. A folder that was fetched before is tried here.",
    ),
)

CODES: dict[str, Code] = {each.code: each for each in _ALL}
"""By their names, in their order."""


def code_of(name: str) -> Code:
    """A code by its name, in any case.

    Raises:
        RecipeError: there is none of this name; names the nearest.
    """
    if found := CODES.get(name.strip().upper()):
        return found
    raise RecipeError(f"no code {name!r}{_nearest(name)}; `hrkd explain` lists all")


def ignore_problems(names: Iterable[str]) -> Iterator[str]:
    """What is wrong with codes that are to be left out, one sentence each."""
    for name in names:
        if name not in CODES:
            yield f"no code {name!r}{_nearest(name)}; `hrkd explain` lists all"
        elif CODES[name].severity == "error":
            yield f"{name} is an error ({CODES[name].title}): a run refuses it whatever is left out; leave it in"


def _nearest(name: str) -> str:
    """A question for the code that is most like ``name``: one whose first digits are the same, else any."""
    wanted = name.strip().upper()
    close = suggestion(wanted, CODES, before="; ", shown=str)
    alike = [code for code in CODES if code[:3] == wanted[:3]]
    return close or suggestion(wanted, alike, before="; ", shown=str)
