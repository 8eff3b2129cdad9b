"""The only room that sees the whole: data -> model -> train -> evaluate -> run."""
