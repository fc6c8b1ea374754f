#!/bin/bash
# Runs every command of the README's ```sh blocks, in order, as a reader would: in an empty folder
# with some recordings in my-recordings/ and hiss on the PATH. Run by tests/audio/server.sh: what
# plays until one leaves is left with Ctrl-C. usage: readme.sh SOURCE HISS
set -eu
source=$1 hiss=$2
root=$(mktemp -d)
trap 'rm -rf "$root"' EXIT
mkdir "$root/bin" "$root/desk" "$root/desk/my-recordings"
ln -s "$(realpath "$hiss")" "$root/bin/hiss"
PATH=$root/bin:$PATH
cd "$root/desk"
pactl load-module module-null-sink norewinds=1 >/dev/null
for word in one two three four five six seven eight nine ten; do
    espeak-ng -w "my-recordings/$word.wav" "$word, $word and $word"
done

# hears COMMAND: leaves it when a second of its sound has reached the device.
hears() {
    local heard=no status=0
    bash -c "exec $1" </dev/null &
    for _ in $(seq 200); do
        if LC_ALL=C pactl list sink-inputs | grep -q 'Corked: no'; then heard=yes && break; fi
        sleep 0.1
    done
    sleep 1
    kill -INT $!
    wait $! || status=$?
    [ $heard = yes ] && [ $status = 130 ]
}
runs() { bash -o pipefail -c "$1" </dev/null; }

awk '/^```sh$/ {on = 1; next} /^```$/ {on = 0} on' "$source/README.md" >"$root/commands"
test -s "$root/commands"
while IFS= read -r command; do
    echo "\$ $command"
    how=runs
    case $command in
    *--seconds* | *--list-devices*) ;;
    "hiss live"*) how=hears ;;
    esac
    $how "$command" || {
        echo "README: this command failed: $command" >&2
        exit 1
    }
done <"$root/commands"
for file in bits.png compare.png continued.png curves.svg runs/my-recordings/curve.png; do
    test -s "$file" || exit 1
done
for file in seven.wav number.flac two.ogg continued.wav mine.wav music.wav; do
    soxi "$file" >/dev/null || exit 1
done
test "$(find nines -name '*.wav' | wc -l)" -eq 2
echo "$(wc -l <"$root/commands") commands of the README ran"
