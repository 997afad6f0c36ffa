#!/bin/sh
# Try the destination "wordpress" against a real WordPress: one site from Debian 12's packages, deliveries, recall and
# restore (tests/review/test_real_wordpress.py), and everything is stopped again.
#
#   deploy/wordpress-trial.sh               installs the packages that are missing; run it as root on a spare machine
#   deploy/wordpress-trial.sh COMMAND …     runs another command with the site's address and login in its environment
#
# The site listens on 127.0.0.1 only (PORT, 8089), its database on a socket, and both live in a temporary folder.
set -eu

PORT=${PORT:-8089}
PACKAGES="wordpress mariadb-server php8.2-cli php8.2-mysql php8.2-gd php8.2-xml php8.2-curl php8.2-mbstring"
FOLDER=$(mktemp -d)
SITE=$FOLDER/site
DATABASE_PID= SITE_PID=

stop() {
    [ -z "$SITE_PID" ] || kill "$SITE_PID" 2>/dev/null || true
    [ -z "$DATABASE_PID" ] || { kill "$DATABASE_PID" 2>/dev/null && wait "$DATABASE_PID" || true; }
    rm -rf "$FOLDER"
}
trap stop EXIT
trap 'exit 1' INT TERM

install_packages() {
    # Debian would start the database and a web server; policy-rc.d tells it not to.
    if [ ! -e /usr/sbin/policy-rc.d ]; then
        printf '#!/bin/sh\nexit 101\n' >/usr/sbin/policy-rc.d
        chmod +x /usr/sbin/policy-rc.d
        trap 'rm -f /usr/sbin/policy-rc.d; stop' EXIT
    fi
    export DEBIAN_FRONTEND=noninteractive
    apt-get update -qq
    # shellcheck disable=SC2086 # a list
    apt-get install -y -qq --no-install-recommends $PACKAGES >"$FOLDER/apt.log" 2>&1 || { cat "$FOLDER/apt.log"; exit 1; }
}

start_database() {
    mariadb-install-db --no-defaults --user="$(id -un)" --datadir="$FOLDER/db" --skip-test-db >"$FOLDER/db.log" 2>&1
    mariadbd --no-defaults --user="$(id -un)" --datadir="$FOLDER/db" --socket="$FOLDER/db.sock" \
        --pid-file="$FOLDER/db.pid" --skip-networking >>"$FOLDER/db.log" 2>&1 &
    DATABASE_PID=$!
    for _second in $(seq 60); do
        mariadb --no-defaults --socket="$FOLDER/db.sock" -e "SELECT 1" >/dev/null 2>&1 && break
        sleep 1
    done
    mariadb --no-defaults --socket="$FOLDER/db.sock" -e "
        CREATE DATABASE wordpress; CREATE USER trial@localhost IDENTIFIED BY 'trial';
        GRANT ALL ON wordpress.* TO trial@localhost"
}

write_site() {
    mkdir "$SITE"
    cp -rL /usr/share/wordpress/. "$SITE" 2>/dev/null || true # a link that leads nowhere does not matter here
    mkdir -p "$SITE/wp-content/uploads" "$SITE/wp-content/themes" "$SITE/wp-content/plugins"
    cat >"$SITE/wp-config.php" <<PHP
<?php
define('DB_NAME', 'wordpress'); define('DB_USER', 'trial'); define('DB_PASSWORD', 'trial');
define('DB_HOST', 'localhost:$FOLDER/db.sock'); define('DB_CHARSET', 'utf8mb4'); define('DB_COLLATE', '');
define('WP_HOME', 'http://127.0.0.1:$PORT'); define('WP_SITEURL', 'http://127.0.0.1:$PORT');
define('WP_CONTENT_DIR', '$SITE/wp-content'); define('WP_ENVIRONMENT_TYPE', 'local');
define('WP_HTTP_BLOCK_EXTERNAL', true); define('DISABLE_WP_CRON', true); define('AUTOMATIC_UPDATER_DISABLED', true);
define('WP_DEBUG', false);
\$table_prefix = 'wp_';
if (!defined('ABSPATH')) { define('ABSPATH', '$SITE/'); }
require_once ABSPATH . 'wp-settings.php';
PHP
    # Files are served as they are; all other addresses are WordPress's, such as /wp-json/.
    cat >"$FOLDER/router.php" <<PHP
<?php
\$path = rawurldecode(parse_url(\$_SERVER['REQUEST_URI'], PHP_URL_PATH));
if (\$path !== '/' && is_file('$SITE' . \$path)) { return false; }
\$_SERVER['SCRIPT_NAME'] = '/index.php'; \$_SERVER['PHP_SELF'] = '/index.php';
chdir('$SITE');
require '$SITE/index.php';
PHP
    cat >"$FOLDER/install.php" <<PHP
<?php
define('WP_INSTALLING', true);
\$_SERVER['HTTP_HOST'] = '127.0.0.1:$PORT'; \$_SERVER['SERVER_PROTOCOL'] = 'HTTP/1.1';
function wp_new_blog_notification() {}
require '$SITE/wp-load.php';
require '$SITE/wp-admin/includes/upgrade.php';
wp_install('Trial', 'admin', 'admin@example.com', false, '', wp_generate_password());
global \$wp_rewrite;
\$wp_rewrite->set_permalink_structure('/%postname%/');
\$wp_rewrite->flush_rules(false);
foreach (['editor', 'author'] as \$role) {
    \$id = wp_insert_user(['user_login' => \$role, 'user_pass' => wp_generate_password(), 'role' => \$role]);
    \$made = WP_Application_Passwords::create_new_application_password(\$id, ['name' => 'Proofline']);
    file_put_contents('$FOLDER/' . \$role, "\$role:" . WP_Application_Passwords::chunk_password(\$made[0]));
}
PHP
    php "$FOLDER/install.php"
}

start_site() {
    php -d upload_max_filesize=32M -d post_max_size=32M -d memory_limit=256M \
        -S "127.0.0.1:$PORT" -t "$SITE" "$FOLDER/router.php" >"$FOLDER/site.log" 2>&1 &
    SITE_PID=$!
    for _second in $(seq 60); do
        php -r "exit(@file_get_contents('http://127.0.0.1:$PORT/wp-json/') === false ? 1 : 0);" && break
        sleep 1
    done
}

command -v php >/dev/null && command -v mariadbd >/dev/null && [ -d /usr/share/wordpress ] || install_packages
start_database
write_site
start_site

export PROOFLINE_TRIAL_WORDPRESS="http://127.0.0.1:$PORT"
PROOFLINE_TRIAL_EDITOR=$(cat "$FOLDER/editor")
PROOFLINE_TRIAL_AUTHOR=$(cat "$FOLDER/author")
export PROOFLINE_TRIAL_EDITOR PROOFLINE_TRIAL_AUTHOR
if [ $# -gt 0 ]; then "$@"; else .venv/bin/python -m pytest tests/review/test_real_wordpress.py -q -s; fi
