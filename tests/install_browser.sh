#!/bin/sh
# The browser in which tests/reporting/test_browser.py looks at a report. Does nothing where one is there.
set -eu
for name in chromium chromium-browser google-chrome; do
    if command -v "$name" >/dev/null; then exit 0; fi
done
as_root=
if [ "$(id -u)" != 0 ]; then as_root="sudo -n"; fi
if ! command -v apt-get >/dev/null || ! { $as_root apt-get -qq update &&
    DEBIAN_FRONTEND=noninteractive $as_root apt-get -qq install -y --no-install-recommends chromium fonts-dejavu-core; }; then
    echo "cannot install chromium here; install it by hand: its tests fail without it" >&2
    exit 1
fi
