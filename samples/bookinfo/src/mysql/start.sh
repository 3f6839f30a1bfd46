#!/bin/sh
# Creates the database on the first start, with the password in MYSQL_ROOT_PASSWORD, and serves it. Arguments for MySQL's own
# server are ignored: MariaDB needs none of them.
set -eu
data=/var/lib/mysql
mkdir -p /run/mysqld
chown mysql: /run/mysqld "$data"
if [ ! -e "$data/installed" ]; then
    # An interrupted start may have left half of it.
    find "$data" -mindepth 1 -delete
    mariadb-install-db --user=mysql --datadir="$data" --auth-root-authentication-method=normal --skip-test-db >/dev/null
    touch "$data/installed"
fi
# The server runs these statements (a line each, all repeatable) before it opens its port, so it is never reachable without a password.
quoted=$(printf %s "${MYSQL_ROOT_PASSWORD:?is not set}" | sed "s/'/''/g")
(
    umask 077
    cat /opt/mysql/ratings.sql
    echo "CREATE OR REPLACE USER 'root'@'%' IDENTIFIED BY '$quoted';"
    echo "GRANT ALL ON *.* TO 'root'@'%' WITH GRANT OPTION;"
    echo "ALTER USER 'root'@'localhost' IDENTIFIED BY '$quoted';"
) >/run/mysqld/init.sql
chown mysql: /run/mysqld/init.sql
exec mariadbd --user=mysql --datadir="$data" --bind-address=0.0.0.0 --init-file=/run/mysqld/init.sql
