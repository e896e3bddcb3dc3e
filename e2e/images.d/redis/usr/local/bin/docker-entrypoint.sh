#!/bin/sh
# In a container all callers are strangers: without this Redis would refuse them.
set -eu
case ${1:-} in
  -* | *.conf) set -- redis-server "$@" ;;
esac
[ "$1" != redis-server ] || set -- "$@" --protected-mode no
exec "$@"
