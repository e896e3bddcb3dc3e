#!/bin/sh
# Makes the database on the first start, from the variables that the public image knows.
set -eu
case ${1:-} in
  -*) set -- postgres "$@" ;;
esac
if [ "$1" = postgres ] && [ ! -e "$PGDATA/PG_VERSION" ]; then
  user=${POSTGRES_USER:-postgres}
  database=${POSTGRES_DB:-$user}
  echo "${POSTGRES_PASSWORD:?set POSTGRES_PASSWORD}" >/tmp/password
  initdb --pgdata "$PGDATA" --username "$user" --pwfile /tmp/password --auth-local trust \
    --auth-host scram-sha-256 --encoding UTF8 --locale C
  rm /tmp/password
  echo 'host all all all scram-sha-256' >>"$PGDATA/pg_hba.conf"
  pg_ctl --pgdata "$PGDATA" --wait --options "-c listen_addresses= -k /tmp" start
  [ "$database" = postgres ] || psql --host /tmp --username "$user" --dbname postgres \
    --set ON_ERROR_STOP=1 --command "CREATE DATABASE \"$database\""
  for script in /docker-entrypoint-initdb.d/*.sql; do
    [ ! -e "$script" ] ||
      psql --host /tmp --username "$user" --dbname "$database" --set ON_ERROR_STOP=1 --file "$script"
  done
  pg_ctl --pgdata "$PGDATA" --wait --mode fast stop
fi
[ "$1" != postgres ] || set -- "$@" -c listen_addresses='*' -k /tmp
exec "$@"
