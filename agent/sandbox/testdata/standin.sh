#!/bin/bash
# Stands in for launchers that a machine may lack: it runs its command as the
# program by whose name it is called would. It says nothing of that program, but
# shows what the kernel holds of a command that comes through one.

# words runs an argument vector behind options, of which those in the first
# argument have a value, and behind as many operands as the second says.
words() {
	local valued=" $1 " skip=$2
	shift 2
	while [ $# -gt 0 ]; do
		case $1 in
		--) shift && break ;;
		-*) case $valued in *" $1 "*) shift ;; esac && shift ;;
		[A-Za-z_]*=*) export "$1" && shift ;;
		*) break ;;
		esac
	done
	shift "$skip"
	[ $# -eq 0 ] || exec "$@"
}

# texts runs each operand as a command text.
texts() {
	for text; do case $text in -*) ;; *) sh -c "$text" ;; esac done
}

# option runs the value of one of the options in the first argument as a text.
option() {
	local options=" $1 "
	shift
	while [ $# -gt 0 ]; do
		case $options in
		*" ${1%%=*} "*) case $1 in *=*) sh -c "${1#*=}" ;; *) sh -c "$2" ;; esac ;;
		esac
		shift
	done
}

# after runs the argument vector behind the first argument.
after() {
	local mark=$1
	shift
	while [ $# -gt 0 ] && [ "$1" != "$mark" ]; do shift; done
	shift
	[ $# -eq 0 ] || { [ $# -eq 1 ] && exec sh -c "$1"; } || exec "$@"
}

# bang runs what stands behind the bang in an editor's command.
bang() {
	for text; do case $text in *!*) sh -c "${text#*!}" ;; esac done
}

case ${0##*/} in
sudo) words "-u -g -p -C -h -r -t -T -U -D" 0 "$@" ;;
doas | chpst | tini | dumb-init | cpulimit | trickle | softlimit) words "-u -l -d -m -r -s -p -t" 0 "$@" ;;
gosu | su-exec | setuidgid | envdir | flock | faketime | runcon | chrt | taskset) words "" 1 "$@" ;;
unshare | setarch | nsenter | chroot) words "-t -S -G -R" $([ "${0##*/}" = chroot ] && echo 1 || echo 0) "$@" ;;
busybox | toybox) words "" 0 "$@" ;;
bwrap)
	while [ $# -gt 0 ]; do
		case $1 in
		--*bind*) shift 3 ;;
		--dev | --proc | --tmpfs | --chdir) shift 2 ;;
		--) shift && break ;;
		--*) shift ;;
		*) break ;;
		esac
	done
	exec "$@"
	;;
systemd-nspawn | cgexec | proxychains | proxychains4 | fakeroot | xvfb-run | dotenv | numactl | strace | ltrace | valgrind | perf) 
	case $1 in record | stat | trace) shift ;; esac
	words "-D -M -g -f -p -o -e -b -a -s -n -l" 0 "$@"
	;;
pkexec | torsocks | torify | tsocks | rlwrap | unbuffer | catchsegv | firejail | daemonize | dbus-launch | dbus-run-session | fakechroot | run-one | caffeinate | chronic | ifne | cross-env | eatmydata | linux64 | linux32 | x86_64 | i386 | setpriv | bunx | uvx | npx | pnpx | systemd-run | start-stop-daemon)
	case "$*" in
	*--exec* | *-x*) after "$(printf '%s\n' "$@" | grep -m1 -xE -- '-x|--exec')" "$@" ;;
	*-c*) option "-c --call" "$@" ;;
	esac
	words "-p -u" 0 "$@"
	;;
hyperfine | concurrently | pee | watch) texts "$@" ;;
nodemon | cargo) option "-x --exec -s --shell" "$@" && after -- "$@" ;;
nix-shell | vagrant | script | su | runuser) option "-c --run --command" "$@" ;;
nix) after -c "$@" ;;
fd | fdfind) for mark in -x -X --exec; do after "$mark" "$@"; done ;;
entr) words "" 0 "$@" ;;
rg) option "--pre" "$@" ;;
fzf) option "--preview" "$@" ;;
bat) option "--pager" "$@" ;;
rsync) option "-e --rsh --rsync-path" "$@" ;;
zip) option "-TT --unzip-command" "$@" ;;
man) option "-P --pager" "$@" && sh -c "$MANPAGER$PAGER" ;;
sort) option "--compress-program" "$@" ;;
uv | poetry | pipenv | pdm | bundle | pnpm | yarn | npm | mise)
	shift && { option "-c --call" "$@"; words "" 0 "$@"; }
	;;
conda | direnv) shift && words "-n" $([ "${0##*/}" = direnv ] && echo 1 || echo 0) "$@" ;;
docker | podman | kubectl) shift && words "-u -w -e" 1 "$@" ;;
xterm | konsole) after -e "$@" ;;
gnome-terminal) after -- "$@" ;;
cmake) shift && { case $1 in chdir) shift 2 ;; *) shift ;; esac; exec "$@"; } ;;
tmux)
	shift
	case $1 in -*) shift ;; esac
	[ $# -eq 1 ] && exec sh -c "$1"
	case $1 in *' '*) exec sh -c "$1" ;; esac
	exec "$@"
	;;
screen) words "-S" 0 "$@" ;;
socat) for address; do case $address in EXEC:* | SYSTEM:*) sh -c "${address#*:}" ;; esac done ;;
at | batch) exec sh ;;
parallel)
	while [ $# -gt 0 ]; do case $1 in --pipe) shift ;; -*) shift ;; *) break ;; esac done
	template=()
	while [ $# -gt 0 ] && [ "$1" != ::: ]; do template+=("$1") && shift; done
	shift
	[ ${#template[@]} -gt 0 ] || { texts "$@" && exit; }
	for input in "${@:-x}"; do sh -c "${template[*]//\{\}/$input} $input"; done
	;;
zsh | ksh | ash | mksh | rbash | yash)
	while [ $# -gt 0 ]; do case $1 in -*c) exec bash "$@" ;; -*) shift ;; *) break ;; esac done
	exec bash "$@"
	;;
fish) option "-c --command -C" "$@" ;;
vim | vi | nvim | view | ex | less) bang "$@" ;;
gdb | perf) after --args "$@" ;;
esac
