"""The command lines of data/*/prepare.py: options, a summary, or one line and exit code 2."""

import argparse
import shlex
import sys
from contextlib import contextmanager
from pathlib import Path

from reslab.data.folders import dataset_argument
from reslab.run.arguments import ArgumentParser, home_path, output_folder
from reslab.run.children import on_ending_signals, raise_interrupted
from reslab.run.config import run_door
from reslab.run.fields import short
from reslab.run.help import EXIT_CODES
from reslab.run.launch import as_typed, packages
from reslab.run.streams import lossy

with packages():
    from reslab.data.corpus import write_dataset
    from reslab.data.documents import Plan, prepare
    from reslab.data.rows import ENDINGS
    from reslab.data.source import Source, find_inputs
    from reslab.data.tokenizer import allowed_specs


def arguments(doc: str, out: Path) -> argparse.ArgumentParser:
    """The options that all prepare scripts share.

    Args:
        out: the folder to write where --out names none.
    """
    called = as_typed(f"python {sys.argv[0]}").removeprefix("python ")
    parser = ArgumentParser(as_typed(doc), called, EXIT_CODES)
    parser.add_argument(
        "--out", type=output_folder, default=out, metavar="DIR", help="folder to write (default: %(default)s)"
    )
    parser.add_argument("--quiet", action="store_true", help="no progress bar, no summary")
    parser.add_argument("--if_missing", action="store_true", help="leave a finished dataset as it is")
    return parser


def run_script(main) -> None:
    """Call a prepare.py's main(); its faults end it as those of the doors do, and a failed print does not."""

    def door(argv):
        with lossy():
            main()

    run_door(door)


@contextmanager
def _stopped(line: str):
    """Inside, every signal that asks for the end is one that stops with this line."""
    try:
        with on_ending_signals(raise_interrupted):
            yield
    except KeyboardInterrupt as stop:
        print(f"stopped; {line}", file=sys.stderr)
        raise SystemExit(getattr(stop, "code", 130)) from None


def run_prepare(args: argparse.Namespace, read, tokenizer: str, source: str, read_val=None) -> None:
    """write_dataset for a command line, with a summary."""
    with _stopped(f"{args.out} holds what it held before, or the new dataset whole"):
        meta = write_dataset(
            args.out, read, tokenizer, source, args.quiet, args.if_missing, read_val=read_val
        )
    if not args.quiet:
        print(describe(args.out, meta))


def describe(out_dir: Path, meta: dict) -> str:
    """What a dataset holds, in three lines, and how it is named to a program."""
    train, val, lines = meta["splits"]["train"], meta["splits"]["val"], meta["baselines_nats"]
    return (
        f"{out_dir}: {train['tokens']:,} training and {val['tokens']:,} validation tokens, "
        f"vocabulary {meta['vocab_size']:,}\n"
        f"from {meta['source']}\n"
        f"val baselines in nats/token: uniform {lines['uniform']:.3f}, "
        f"unigram {lines['unigram']['val']:.3f}, bigram {lines['bigram']['val']:.3f}\n"
        f"use it with: --dataset={shlex.quote(dataset_argument(out_dir))}"
    )


def whole(text: str) -> int:
    """A whole number, which may be written as 1e9."""
    try:
        return int(float(text))
    except (ValueError, OverflowError):
        raise argparse.ArgumentTypeError(f"{short(text)} is not a whole number") from None


def _parser(doc: str, here: Path, subset: str | None):
    parser = arguments(doc, here)
    add, plan = parser.add_argument, Plan()
    add("--input", nargs="+", type=home_path, metavar="PATH", help=f"files, or folders of them: {ENDINGS}")
    add("--text_column", default="text", metavar="NAME", help="column of the text (default: %(default)s)")
    add("--subset", default=subset, metavar="NAME", help="subset on the Hub (default: %(default)s)")
    add("--tokenizer", default=plan.tokenizer, help=f"{allowed_specs(True)} (default: %(default)s)")
    add(
        "--max_tokens",
        type=whole,
        metavar="N",
        help="stop with the batch that reaches it, e.g. 1e9; a later run with more goes on",
    )
    add("--shard_tokens", type=whole, default=plan.shard_tokens, metavar="N", help="(default: %(default)s)")
    share = "of the documents (default: %(default)s)"
    add("--val_share", type=float, default=plan.val_share, metavar="X", help=share)
    skipped = "rows without a text that are skipped (default: %(default)s)"
    add("--max_bad", type=int, default=plan.max_bad, metavar="N", help=skipped)
    add("--jobs", type=int, metavar="N", help="threads that encode (default: all cores)")
    add("--overwrite", action="store_true", help="delete what is in the folder first")
    return parser


def run_documents(doc: str, here: Path, repo: str, subset: str | None) -> None:
    """A prepare.py of documents as a command line, with a summary."""
    args = _parser(doc, here, subset).parse_args()
    with _stopped("the same command goes on from there"):
        plan = Plan(
            args.tokenizer, args.shard_tokens, args.val_share, args.max_tokens, args.jobs, args.max_bad
        )
        inputs = find_inputs(args.input or [])
        source = Source(repo, args.subset, tuple(inputs.files), args.text_column)
        if not args.quiet:
            print(inputs if inputs.files else f"reading {source} from the Hugging Face Hub", flush=True)
        meta = prepare(args.out, source, plan, args.overwrite, args.quiet)
    if not args.quiet:
        print(describe(args.out, meta))
        total = sum(split["tokens"] for split in meta["splits"].values())
        if plan.max_tokens and total > plan.max_tokens:
            print(
                f"these are {total - plan.max_tokens:,} more than --max_tokens={plan.max_tokens:,}: "
                "documents are added in whole batches, and none is taken away"
            )
        if meta["bad_rows"]:
            print(f"rows without a text that were skipped: {meta['bad_rows']:,}")
