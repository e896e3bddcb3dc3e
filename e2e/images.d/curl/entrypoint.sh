#!/bin/sh
# Options alone are curl's.
set -eu
case ${1:-} in
  -*) set -- curl "$@" ;;
esac
exec "$@"
