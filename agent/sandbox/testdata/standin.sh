#!/bin/bash
# Stands in for launchers that a machine cannot have or that a sandbox keeps from
# working: it runs what the program by whose name it is called would run, by that
# program's conventions, and nothing if it is called otherwise. It says nothing of
# that program, but shows what the kernel holds of a command that comes through
# one.

refuse() {
	echo "${0##*/}: not a call that runs a program: $*" >&2
	exit 64
}

# words runs an argument vector behind options. The first argument are the
# options that have a value, the second those that have none, and the third is
# how many operands stand before the command. An option that is in neither list
# is refused. Where assignments is set, they may stand before the command.
words() {
	local valued=" $1 " flags=" $2 " skip=$3
	shift 3
	while [ $# -gt 0 ]; do
		case $1 in
		--) shift && break ;;
		--*=*) case $valued in *" ${1%%=*} "*) shift ;; *) refuse "$1" ;; esac ;;
		-?*)
			case $valued in
			*" $1 "*) shift 2 || refuse "no value" ;;
			*) case $flags in *" $1 "*) shift ;; *) refuse "$1" ;; esac ;;
			esac
			;;
		[A-Za-z_]*=*) [ -n "${assignments-}" ] || break; export "$1" && shift ;;
		*) break ;;
		esac
	done
	[ $# -gt "$skip" ] || refuse "no command"
	shift "$skip"
	exec "$@"
}

# shell becomes the user's shell, which is bash here.
shell() { exec bash "$@"; }

# become is su: [options] [-] [user] [arguments of the shell].
become() {
	local text user=
	while [ $# -gt 0 ]; do
		case $1 in
		-c | --command) text=$2 && shift 2 ;;
		--command=*) text=${1#*=} && shift ;;
		- | -l | --login | -m | -p) shift ;;
		-?*) refuse "$1" ;;
		*) [ -z "$user" ] || break; user=$1 && shift ;;
		esac
	done
	[ -z "${text+x}" ] || shell -c "$text" "$@"
	shell "$@"
}

case ${0##*/} in
sudo)
	assignments=x
	case $1 in
	-s | -i)
		shift
		[ $# -gt 0 ] || shell
		shell -c "$(printf '%q ' "$@")"
		;;
	-[EHn]u) set -- -u "${@:2}" ;;
	--preserve-env=*) shift ;;
	esac
	words "-u -g -p -C -h -r -t -T -U -D --user --group" "-E -H -n -b -k -S -P" 0 "$@"
	;;
doas) words "-u -C" "-n" 0 "$@" ;;
su) become "$@" ;;
runuser)
	case $1 in
	-u) shift 2 && { [ "$1" != -- ] || shift; } && exec "$@" ;;
	esac
	become "$@"
	;;
sg)
	[ "$2" = -c ] || refuse "$@"
	exec sh -c "$3"
	;;
pkexec) words "--user" "--disable-internal-agent --keep-cwd" 0 "$@" ;;
gosu | su-exec | setuidgid) words "" "" 1 "$@" ;;
chpst) words "-u -U -e -/ -n -l -L -m -d -o -p -f -c -r -t" "-P -0 -1 -2 -v -V" 0 "$@" ;;
crontab)
	[ "$*" = -e ] || refuse "$@"
	exec sh -c "${VISUAL:-${EDITOR:-true}} \"\$1\"" sh "$(mktemp)"
	;;
chroot)
	[ "$1" = / ] || refuse "another root"
	words "" "" 1 "$@"
	;;
unshare) words "-R -w -S -G" "-n -r -U -m -p -f -i -u -C -Urn -rn -Ur" 0 "$@" ;;
nsenter) words "-t -S -G --target" "-m -n -p -u -i -U -C -a -r" 0 "$@" ;;
bwrap)
	while [ $# -gt 0 ]; do
		case $1 in
		--bind | --ro-bind | --dev-bind | --bind-try | --ro-bind-try | --setenv | --symlink) shift 3 ;;
		--dev | --proc | --tmpfs | --dir | --chdir | --unsetenv) shift 2 ;;
		--unshare-net | --unshare-all | --unshare-pid | --share-net | --die-with-parent | --new-session | --clearenv) shift ;;
		--) shift && break ;;
		-*) refuse "$1" ;;
		*) break ;;
		esac
	done
	[ $# -gt 0 ] || refuse "no command"
	exec "$@"
	;;
firejail)
	while :; do case $1 in --) shift && break ;; --?*) shift ;; *) break ;; esac done
	words "" "-c" 0 "$@"
	;;
systemd-nspawn)
	[ "$1 $2" = "-D /" ] || refuse "another root"
	words "-D -M -u" "-q -b" 0 "$@"
	;;
cgexec) words "-g" "--sticky" 0 "$@" ;;
strace) words "-a -b -e -E -I -o -O -p -P -s -S -u -X" "-f -ff -c -C -d -F -h -i -k -n -q -qq -r -t -tt -ttt -T -v -w -x -xx -y -yy -Z -D" 0 "$@" ;;
ltrace) words "-a -A -D -e -l -n -o -p -s -u -w -x -F" "-b -c -C -f -h -i -L -r -S -t -tt -T" 0 "$@" ;;
perf)
	case $1 in stat | record | trace) shift ;; *) refuse "$1" ;; esac
	words "-e -o -F -c -r" "-a -g -q -v -d" 0 "$@"
	;;
xvfb-run) words "-n -e -f -p -s -w" "-a -l" 0 "$@" ;;
dbus-run-session) words "--config-file --dbus-daemon" "" 0 "$@" ;;
dbus-launch) words "--config-file" "--exit-with-session --sh-syntax" 0 "$@" ;;
cross-env)
	assignments=x
	words "" "" 0 "$@"
	;;
concurrently)
	# Each operand is a command text; options are not taken here.
	for text; do case $text in -*) refuse "$text" ;; *) sh -c "$text" ;; esac done
	;;
screen)
	case $1 in -dm) shift ;; -dmS) shift 2 ;; *) refuse "$@" ;; esac
	words "-S -c -e -h -p -s -t -T" "-L -U -O" 0 "$@"
	;;
nodemon)
	case $1 in -x | --exec) exec sh -c "$2" ;; *) refuse "$@" ;; esac
	;;
caffeinate) words "-t -w" "-d -i -m -s -u" 0 "$@" ;;
run-one | catchsegv | torify) words "" "" 0 "$@" ;;
yarn)
	[ "$1" = exec ] || refuse "$@"
	shift && words "" "" 0 "$@"
	;;
pnpm)
	[ "$1" != --filter ] || shift 2
	[ "$1" = exec ] || refuse "$@"
	shift && words "" "-r" 0 "$@"
	;;
uv | poetry | pipenv)
	[ "$1" = run ] || refuse "$@"
	shift && words "" "-q" 0 "$@"
	;;
conda)
	[ "$1" = run ] || refuse "$@"
	shift && words "-n -p" "--no-capture-output" 0 "$@"
	;;
mise)
	[ "$1 $2" = "exec --" ] || refuse "$@"
	shift 2 && exec "$@"
	;;
cargo)
	[ "$1" = watch ] || refuse "$@"
	case $2 in -s) exec sh -c "$3" ;; --) shift 2 && exec "$@" ;; *) refuse "$@" ;; esac
	;;
*) refuse "$@" ;;
esac
