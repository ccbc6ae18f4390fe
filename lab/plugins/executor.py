"""Runs one Pulumi program in this interpreter: what the ``pulumi-language-python-exec`` script does for Pulumi."""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import runpy
import sys
import traceback
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pulumi
from pulumi import runtime

# The status by which the language host knows that the person has already been told what went wrong.
ALREADY_EXPLAINED = 32


def _program_traceback(program: Path) -> str:
    """The current exception's traceback from the program's first frame on, without the frames that started it."""
    frames = traceback.extract_tb(sys.exc_info()[2])
    main = program / "__main__.py" if program.is_dir() else program
    for index, frame in enumerate(frames):
        if Path(frame.filename).resolve() == main.resolve():
            return traceback.format_exc(limit=index - len(frames))
    return traceback.format_exc()


def _parse(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Run a Pulumi program.")
    for option in ("project", "stack", "organization", "root-directory", "monitor", "engine", "pwd"):
        parser.add_argument(f"--{option}")
    parser.add_argument("--parallel", type=int, default=0)
    parser.add_argument("--dry-run", action="store_true")
    parser.add_argument("program")
    parser.add_argument("arguments", nargs="*")
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> int:
    """Runs the program that the arguments describe, connected to the engine and monitor they name.

    Returns:
        0, or ``ALREADY_EXPLAINED`` after the failure was reported to the engine.
    """
    args = _parse(sys.argv[1:] if arguments is None else arguments)
    runtime.set_all_config(runtime.get_config_env(), runtime.get_config_secret_keys_env())
    runtime.configure(
        runtime.Settings(
            project=args.project,
            stack=args.stack,
            monitor=args.monitor,
            engine=args.engine,
            parallel=args.parallel,
            dry_run=args.dry_run,
            organization=args.organization,
            root_directory=args.root_directory,
        )
    )
    if args.pwd:
        os.chdir(args.pwd)
    program = Path(args.program).absolute()
    sys.argv = [args.program, *args.arguments]
    # The program graph is abandoned where it failed; asyncio's complaints about that would bury the reason.
    logging.getLogger("asyncio").setLevel(logging.CRITICAL)
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    workers = ThreadPoolExecutor(max_workers=4 * max(args.parallel, 1))
    loop.set_default_executor(workers)

    def run() -> None:
        runpy.run_path(args.program, run_name="__main__")

    try:
        if program.is_dir() and not (program / "__main__.py").exists():
            raise pulumi.RunError(f"no program in {program}: it has no __main__.py")
        loop.run_until_complete(runtime.run_in_stack(run))
    except pulumi.RunError as error:
        pulumi.log.error(str(error))
        return ALREADY_EXPLAINED
    except Exception:  # noqa: BLE001 - the program's own failure, whatever it is, is reported in full
        pulumi.log.error(f"Program failed with an unhandled exception:\n{_program_traceback(program)}")
        return ALREADY_EXPLAINED
    finally:
        workers.shutdown(wait=True)
        loop.close()
        sys.stdout.flush()
        sys.stderr.flush()
    return 0


if __name__ == "__main__":
    sys.exit(main())
