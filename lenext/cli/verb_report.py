"""`lenext report`: write a run's report."""

from pathlib import Path

from lenext.cli.output import put


def write_page(run: Path) -> None:
    """Write RUN/report.html, one file that needs no network, and print its path.

    Parameters
    ----------
    run
        A run folder.
    """
    from lenext.reporting.page import write_report

    put(str(write_report(run)))
