# Makes, in the directory it runs in, what the commands of the corpus work on:
# files, a Makefile, an archive and a Go module, and if the first argument wants a
# repository, one with a history, a submodule, a remote that is a directory and
# one that is another machine. The second argument is a program.
set -e
printf 'x\ny\na\nfoo\n' | tee f urls >/dev/null
printf 'all x:\n\t@echo made\n' >Makefile
printf 'module example.com/x\n\ngo 1.21\n' >go.mod
printf 'package main\n\n//go:generate echo x\n\nfunc main() {}\n' >main.go
mkdir -p d node_modules/.bin man/man1
printf '.TH LS 1\n.SH NAME\nls\n' >man/man1/ls.1
ln -s "$2" node_modules/.bin/
echo '{"name":"x","version":"1.0.0"}' >package.json
: >Gemfile
: >.envrc
tar cf a.tar f
! command -v zip >/dev/null || zip -q a.zip f
seq 40000 >big
[ "$1" = repository ] || exit 0
git init -q -b main --template=
git config user.name x
git config user.email x@example.com
mkdir -p .git/info
printf '%s\n' o node_modules big >.git/info/exclude
git add -A
git commit -qm 1
for n in 2 3 4 5; do
	echo $n >>f
	git commit -qam $n
done
git clone -q --bare --template= . o
git -c protocol.file.allow=always submodule --quiet add ./o sub
git commit -qm 6
git remote add o ./o
git remote add origin h:x
git config branch.main.remote origin
git config branch.main.merge refs/heads/main
