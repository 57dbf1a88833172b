#!/usr/bin/env bash
# Times examples/mailserver (sqlite) and Debian's Dovecot (mdbox, fsync on) side by
# side, from outside:
#
#	bench/imap-dovecot.sh [N [ROUNDS [PROGRAM]]]
#
# by bench/imapload or by another PROGRAM, which is called with HOST PORT USER
# PASSWORD --n N --pid PID. Both servers keep their mail under $TMPDIR. Rounds
# alternate. Needs root, as Dovecot does.
set -euo pipefail
n=${1:-10000} rounds=${2:-1} tool=
[ $# -lt 3 ] || tool=$(realpath "$3")
cd "$(dirname "$0")/.."
dir=$(mktemp -d)
chmod 755 "$dir"
pids=()
trap 'kill "${pids[@]}" 2>/dev/null || true; wait 2>/dev/null || true; rm -rf "$dir"' EXIT

mkdir -p "$dir/home"
chown nobody:nogroup "$dir/home"
cat >"$dir/dovecot.conf" <<END
base_dir = $dir/run
state_dir = $dir/state
log_path = $dir/dovecot.log
protocols = imap
listen = 127.0.0.1
mail_location = mdbox:$dir/home/%n
mail_home = $dir/home/%n
mail_uid = nobody
mail_gid = nogroup
first_valid_uid = 1
first_valid_gid = 1
mail_fsync = always
ssl = no
disable_plaintext_auth = no
passdb {
  driver = static
  args = password=secret
}
userdb {
  driver = static
  args = uid=nobody gid=nogroup home=$dir/home/%n
}
service imap-login {
  chroot =
  inet_listener imap {
    port = 21430
  }
  inet_listener imaps {
    port = 0
  }
}
service anvil {
  chroot =
}
service stats {
  chroot =
}
END
dovecot -F -c "$dir/dovecot.conf" &
dovecot=$!
pids+=("$dovecot")

go build -o "$dir/mailserver" ./examples/mailserver
off=(-smtp "" -submission "" -submissions "" -lmtp "" -pop3 "" -pop3s "" -imaps "")
"$dir/mailserver" -data "$dir/posta" "${off[@]}" -imap 127.0.0.1:21431 -insecure-auth -unlimited -user anna@posta.test:secret >"$dir/posta.log" 2>&1 &
posta=$!
pids+=("$posta")
for port in 21430 21431; do
	until (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; do sleep 0.2; done
done

(cd bench && go build -o "$dir/imapload" ./imapload)
load() { # PORT USER PID
	if [ -n "$tool" ]; then
		"$tool" 127.0.0.1 "$1" "$2" secret --n "$n" --pid "$3"
	else
		"$dir/imapload" -addr "127.0.0.1:$1" -user "$2" -password secret -n "$n" -pid "$3"
	fi
}
for round in $(seq "$rounds"); do
	echo "== Dovecot, round $round"
	load 21430 anna "$dovecot"
	echo "== Posta, round $round"
	load 21431 anna@posta.test "$posta"
done
