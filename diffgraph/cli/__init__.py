"""The command `diffgraph`: one tool with verbs.

The table below is all that `--help` needs, so that it starts at once; a command's own file is loaded when it is run.
Every failure is one diagnostic and an exit status: 0 done, 1 the check or the run failed, 2 the model or the command is
wrong, 130 interrupted.
"""

from __future__ import annotations

import errno
import importlib
import os
import sys

import click

from diffgraph.cli.options import color
from diffgraph.diagnostics import CompilerBug, DiffgraphError, error, suggest

#: verb -> (module under diffgraph.cli, what it does)
COMMANDS = {
    "check": ("check", "parse and check; every problem of every file"),
    "fmt": ("fmt", "one canonical layout, comments kept"),
    "show": ("show", "the network: layers, shapes, parameters; every stage of the compiler"),
    "compile": ("build", "an artifact that runs without the model text"),
    "train": ("train", "run the `train` block"),
    "eval": ("evaluate", "metrics on the test split; a confusion matrix for classes"),
    "predict": ("predict", "outputs for images, npz, csv, npy"),
    "test": ("test", "the `expect` blocks"),
    "gradcheck": ("gradcheck", "every derivative against finite differences in float64"),
    "verify": ("verify", "every pass and target against the interpreter"),
    "explain": ("explain", "what was fused, folded, merged, and what was not, and why"),
    "lsp": ("lsp", "the language server, for editors"),
    "explain-error": ("explain_error", "what the code of an error means, with an example"),
    "bench": ("bench", "time and memory per step and per layer, % of the machine's limit"),
    "layers": ("layers", "the catalogue: signature, formula, an example"),
    "export": ("export", "an ONNX model; weights as safetensors, npz"),
    "import": ("importing", "a net of an ONNX model; weights of PyTorch, safetensors, npz for a net"),
    "new": ("new", "a model file to start from"),
}


class Verbs(click.Group):
    """A group that imports a command when it is used."""

    def list_commands(self, context):
        return [name for name in COMMANDS if _is_there(name)]

    def get_command(self, context, name):
        if name not in COMMANDS or not _is_there(name):
            return None
        module = importlib.import_module(f"diffgraph.cli.{COMMANDS[name][0]}")
        return module.command

    def resolve_command(self, context, args):
        if args and args[0] == "help":
            # `diffgraph help show`, as in cargo and git.
            raise _Help(args[1:])
        name = args[0] if args else ""
        if name and self.get_command(context, name) is None and not name.startswith("-"):
            raise _misspelt(f"there is no command `{name}`", name, self.list_commands(context), context)
        return super().resolve_command(context, args)

    def format_commands(self, context, formatter):
        with formatter.section("Commands"):
            formatter.write_dl([(name, COMMANDS[name][1]) for name in self.list_commands(context)])


class _Help(Exception):
    """`diffgraph help [COMMAND]` was asked for."""

    def __init__(self, words: list[str]):
        self.words = words


def _is_there(name: str) -> bool:
    return os.path.exists(os.path.join(os.path.dirname(__file__), f"{COMMANDS[name][0]}.py"))


@click.group(cls=Verbs, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(None, "-V", "--version", package_name="diffgraph", message="%(prog)s %(version)s")
@click.option("--debug", is_flag=True, help="Show the traceback of a failure.")
@click.pass_context
def diffgraph(context: click.Context, debug: bool):
    """A declarative graph compiler and differentiable-programming language."""
    context.obj = {"debug": debug}


def main(arguments: list[str] | None = None) -> None:
    """The entry point. Ends the process with the exit status."""
    arguments = sys.argv[1:] if arguments is None else arguments
    # `--debug` is accepted anywhere, as people add it to the end of a command that has just failed.
    debug = "--debug" in arguments
    sys.exit(run([a for a in arguments if a != "--debug"], debug))


def _without_limits(arguments: list[str]) -> list[str]:
    """The arguments without `--limit NAME=VALUE`, which every command takes; sets those limits."""
    rest, waiting = [], iter(arguments)
    for argument in waiting:
        name, equals, text = argument.partition("=")
        if name != "--limit":
            rest.append(argument)
            continue
        from diffgraph.language.limits import read_limits

        read_limits(text if equals else next(waiting, ""))
    return rest


def run(arguments: list[str], debug: bool = False) -> int:
    """Runs a command line; gives its exit status. Prints failures to the standard error stream."""
    try:
        arguments = _without_limits(arguments)
        if not arguments:
            click.echo(diffgraph.get_help(click.Context(diffgraph, info_name="diffgraph")), err=True)
            return 2
        result = diffgraph.main(arguments, prog_name="diffgraph", standalone_mode=False)
        return result if isinstance(result, int) else 0
    except _Help as help:
        return run([*help.words[:1], "--help"], debug)
    except click.exceptions.Exit as stop:
        return stop.exit_code
    except click.ClickException as problem:
        return _report(_as_diagnostic(problem))
    except (KeyboardInterrupt, click.exceptions.Abort):
        click.echo("interrupted", err=True)
        return 130
    except BrokenPipeError:
        # The reader of our output has left (`diffgraph show ... | head`); nothing is wrong.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception as problem:
        if debug:
            raise
        return _report(problem)


def _misspelt(message: str, word: str, known: list[str], context: click.Context) -> DiffgraphError:
    help = suggest(word, known) or f"`{context.command_path} --help` lists them"
    return error("DG900", message, help=help)


def _as_diagnostic(problem: click.ClickException) -> DiffgraphError:
    """What is wrong with a command line, in the form of all other errors."""
    context = getattr(problem, "ctx", None)
    if isinstance(problem, click.NoSuchOption) and context is not None:
        options = [name for p in context.command.get_params(context) for name in p.opts]
        return _misspelt(f"there is no option `{problem.option_name}`", problem.option_name, options, context)
    message = problem.format_message().rstrip(".")
    help = f"{context.get_usage().removeprefix('Usage: ')}" if context is not None else None
    return error("DG900", message[:1].lower() + message[1:], help=help)


def _report(problem: Exception) -> int:
    if isinstance(problem, DiffgraphError):
        click.echo("\n\n".join(d.render(color=True) for d in problem.diagnostics), err=True, color=color())
        return problem.status
    if isinstance(problem, CompilerBug):
        click.echo(f"error: {problem}\nRun again with --debug for the traceback.", err=True)
        return 1
    if isinstance(problem, MemoryError):
        click.echo("error: out of memory; try a smaller batch", err=True)
        return 1
    if isinstance(problem, OSError):
        name = f": {problem.filename}" if problem.filename else ""
        click.echo(f"error: {problem.strerror or problem}{name}", err=True)
        return 1 if problem.errno in (errno.ENOSPC, errno.EDQUOT, errno.EIO) else 2
    click.echo(
        f"error: {type(problem).__name__}: {problem}\n"
        "This is a bug in diffgraph, not in your model. Run again with --debug for the traceback.",
        err=True,
    )
    return 1
