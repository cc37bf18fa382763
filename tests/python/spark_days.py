"""Runs the shipped PySpark script for several dates in one Java process, each time as the
program that it is; for a date named `full`, over everything. Called by test_twin.py:

    python spark_days.py SCRIPT DATE,DATE… --local_root FOLDER --…
"""

import runpy
import sys

script, dates, *arguments = sys.argv[1:]
for date in dates.split(","):
    full = ["--full", "true", "--run_key", "twin", "--additional_database", "cdrs_additional"]
    sys.argv = [script, *(full if date == "full" else ["--date", date]), *arguments]
    runpy.run_path(script, run_name="__main__")
