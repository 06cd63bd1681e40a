"""`hrkd serve` as a process, and questions to it."""

import json
import re
import subprocess
import sys
import urllib.error
import urllib.request


class Served:
    def __init__(self, process, url):
        self.process, self.url = process, url

    def get(self, path):
        try:
            with urllib.request.urlopen(self.url + path) as reply:
                return reply.status, reply.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()

    def ask(self, question):
        body = question if isinstance(question, bytes) else json.dumps(question).encode()
        headers = {"Content-Type": "application/json"}
        try:
            with urllib.request.urlopen(urllib.request.Request(f"{self.url}/predict", body, headers)) as reply:
                return reply.status, json.load(reply)
        except urllib.error.HTTPError as error:
            self.headers = error.headers
            return error.code, json.load(error)

    def counts(self):
        """Questions so far by status."""
        found = re.findall(r'^hrkd_questions_total{status="(\d+)"} (\S+)', self.get("/metrics")[1], re.MULTILINE)
        return {int(status): int(float(count)) for status, count in found}


def start(folder, *options, first=""):
    """``first``: code that is run before the server, to change it."""
    code = f"import sys\n{first}\nfrom hrkd.cli import main\nsys.exit(main(sys.argv[1:]))"
    command = [sys.executable, "-c", code, "serve", str(folder), "--port", "0", *options]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    line = process.stdout.readline()
    if "--json" in options:
        assert line.startswith("{"), process.stderr.read()
        assert "served at" in process.stderr.readline()
        return Served(process, json.loads(line)["url"])
    assert "served at" in line, process.stderr.read()
    return Served(process, line.split()[-1])
