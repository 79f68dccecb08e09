"""A process that compiles kernels for another: `python -m diffgraph.targets.cpu.worker`.

It reads jobs as lines of JSON and answers each with a line that holds the number of bytes, then the object code. A
negative number: that many bytes of an error message.
"""

from __future__ import annotations

import json
import sys
import traceback

from diffgraph.targets.cpu.compile import compile_kernel


def main() -> None:
    """Serves until the input ends."""
    answers = sys.stdout.buffer
    for line in sys.stdin.buffer:
        job = json.loads(line)
        try:
            code = compile_kernel(job["source"], job["name"], job["filename"])
            answers.write(b"%d\n" % len(code) + code)
        except Exception:
            message = traceback.format_exc().encode()
            answers.write(b"-%d\n" % len(message) + message)
        answers.flush()


if __name__ == "__main__":
    main()
