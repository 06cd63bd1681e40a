"""Complete, commented recipes; `hrkd recipe` lists them."""
