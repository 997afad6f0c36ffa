#!/bin/sh
# Try the destination "strapi" against a real Strapi 5 from npm: deliveries, recall and restore
# (tests/review/test_real_strapi.py), and it is stopped again. It needs Node 20 or later, npm, make and a C++ compiler.
#
#   deploy/strapi-trial.sh               installs Strapi into a temporary folder, which takes some minutes and 1 GB
#   deploy/strapi-trial.sh COMMAND …     runs another command with the address and logins in its environment
#   SITE=/some/folder deploy/strapi-trial.sh     keeps the installation there, or uses the one that is there
#
# Strapi listens on 127.0.0.1 only (PORT, 8097), with its tables in SQLite.
set -eu

PORT=${PORT:-8097}
VERSION=5.54.0
FOLDER=$(mktemp -d)
SITE=${SITE:-$FOLDER/site}
SITE_PID=
export STRAPI_TELEMETRY_DISABLED=true HOST=127.0.0.1 PORT NODE_ENV=production DATABASE_FILENAME=.tmp/data.db

stop() {
    [ -z "$SITE_PID" ] || { kill "$SITE_PID" 2>/dev/null && wait "$SITE_PID" || true; }
    rm -rf "$FOLDER"
}
trap stop EXIT
trap 'exit 1' INT TERM

install_strapi() {
    npx --yes "create-strapi-app@$VERSION" "$SITE" --js --use-npm --no-install --no-run --skip-cloud --no-example \
        --no-git-init --non-interactive --dbclient sqlite >"$FOLDER/create.log" 2>&1 || { cat "$FOLDER/create.log"; exit 1; }
    # SQLite's driver is compiled; the headers of Node are those of the system where it has them.
    if [ -e /usr/include/node/node.h ]; then export npm_config_nodedir=/usr; fi
    (cd "$SITE" && npm install --no-audit --no-fund >"$FOLDER/npm.log" 2>&1) || { cat "$FOLDER/npm.log"; exit 1; }
}

write_site() {
    # Articles with a slug, a title and a cover; without the administration's pages, which would have to be built.
    rm -rf "$SITE/.tmp" "$SITE/public/uploads"
    mkdir -p "$SITE/.tmp" "$SITE/public/uploads" "$SITE/src/api/article/content-types/article"
    sed -i 's/serveAdminPanel: false,//; s/=> ({/=> ({ serveAdminPanel: false,/' "$SITE/config/admin.js"
    for part in controllers:Controller routes:Router services:Service; do
        mkdir -p "$SITE/src/api/article/${part%:*}"
        echo "module.exports = require('@strapi/strapi').factories.createCore${part#*:}('api::article.article');" \
            >"$SITE/src/api/article/${part%:*}/article.js"
    done
    cat >"$SITE/src/api/article/content-types/article/schema.json" <<'JSON'
{
  "kind": "collectionType", "collectionName": "articles",
  "info": {"singularName": "article", "pluralName": "articles", "displayName": "Article"},
  "options": {"draftAndPublish": true},
  "attributes": {
    "title": {"type": "string"},
    "slug": {"type": "uid", "targetField": "title"},
    "cover": {"type": "media", "allowedTypes": ["images"]}
  }
}
JSON
}

start_site() {
    PASSWORD=Trial-$(od -An -N8 -tx1 /dev/urandom | tr -d ' \n')
    (cd "$SITE" && npx strapi admin:create-user --email=trial@example.com --password="$PASSWORD" --firstname=Trial \
        --lastname=Trial >"$FOLDER/user.log" 2>&1) || { cat "$FOLDER/user.log"; exit 1; }
    (cd "$SITE" && exec node node_modules/@strapi/strapi/bin/strapi.js start >"$FOLDER/site.log" 2>&1) &
    SITE_PID=$!
    cat >"$FOLDER/login.js" <<'JS'
// Log in, make two API tokens, and print the variables of the trial.
const [address, password] = process.argv.slice(2)
const call = async (method, route, token, data) => {
  const headers = { 'Content-Type': 'application/json', ...(token && { Authorization: `Bearer ${token}` }) }
  const answer = await fetch(address + route, { method, headers, body: JSON.stringify(data) })
  if (!answer.ok) throw new Error(`${route} answered ${answer.status}: ${await answer.text()}`)
  return (await answer.json()).data
}
const main = async () => {
  for (let second = 0; second < 120; second++) {
    if (await fetch(`${address}/_health`).then((answer) => answer.ok, () => false)) break
    await new Promise((resume) => setTimeout(resume, 1000))
  }
  const { token } = await call('POST', '/admin/login', '', { email: 'trial@example.com', password })
  const files = ['find', 'findOne', 'upload', 'destroy'].map((name) => `plugin::upload.content-api.${name}`)
  const entries = ['find', 'findOne', 'create', 'update'].map((name) => `api::article.article.${name}`)
  const make = async (name, permissions) => {
    const data = { name, description: '', type: 'custom', lifespan: null, permissions }
    return (await call('POST', '/admin/api-tokens', token, data)).accessKey
  }
  console.log(`PROOFLINE_TRIAL_STRAPI=${address}`)
  console.log(`PROOFLINE_TRIAL_STRAPI_ADMIN=${token}`)
  console.log(`PROOFLINE_TRIAL_STRAPI_TOKEN=${await make('Proofline', [...files, ...entries])}`)
  console.log(`PROOFLINE_TRIAL_STRAPI_READER=${await make('Reader', [files[0], files[1], entries[0]])}`)
}
main().catch((error) => { console.error(error.message); process.exit(1) })
JS
    node "$FOLDER/login.js" "http://127.0.0.1:$PORT" "$PASSWORD" >"$FOLDER/logins" || { tail -n 30 "$FOLDER/site.log"; exit 1; }
}

[ -d "$SITE/node_modules/@strapi/strapi" ] || install_strapi
write_site
start_site

set -a
. "$FOLDER/logins"
set +a
if [ $# -gt 0 ]; then "$@"; else .venv/bin/python -m pytest tests/review/test_real_strapi.py -q -s; fi
