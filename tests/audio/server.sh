#!/bin/bash
# A sound server of its own for a test: server.sh COMMAND... runs it with a PulseAudio that nobody
# else sees, and an ALSA configuration with the devices
#   default, pulse   the server's default sink
#   ear              the server's sink $HISS_TEST_SINK
#   tofile           the raw file $HISS_TEST_RAW, taken as fast as it comes
# In the environment of COMMAND, pactl and parec speak to that server; its process is $HISS_TEST_PULSE.
set -u
if ! command -v pulseaudio pactl parec >/dev/null; then
    echo "pulseaudio and pulseaudio-utils are needed for a sound server"
    exit 77
fi
room=$(mktemp -d)
export HOME=$room XDG_RUNTIME_DIR=$room/run XDG_CONFIG_HOME=$room/config
export PULSE_SERVER=unix:$room/native ALSA_CONFIG_PATH=$room/asound.conf
# The server's own buffer: what the tests look at lies before it, and the machine may be busy.
export PULSE_LATENCY_MSEC=200
unset DISPLAY DBUS_SESSION_BUS_ADDRESS
mkdir -p "$XDG_RUNTIME_DIR" "$XDG_CONFIG_HOME/pulse"
chmod 700 "$XDG_RUNTIME_DIR"
cat >"$ALSA_CONFIG_PATH" <<'CONF'
pcm.!default { type pulse }
ctl.!default { type pulse }
pcm.pulse { type pulse }
pcm.ear {
    type pulse
    device { @func getenv vars [ HISS_TEST_SINK ] default "ear" }
}
pcm.tofile {
    type file
    slave.pcm { type null }
    file { @func getenv vars [ HISS_TEST_RAW ] default "/dev/null" }
    format "raw"
}
CONF
# Left to itself it would ask for a session bus, start again, end when idle, or find a real device.
pulseaudio -n --daemonize=no --exit-idle-time=-1 --use-pid-file=no --disable-shm=yes \
    -L "module-native-protocol-unix socket=$room/native auth-anonymous=1" >"$room/pulse.log" 2>&1 &
HISS_TEST_PULSE=$!
export HISS_TEST_PULSE
leave() {
    kill -CONT "$HISS_TEST_PULSE" 2>/dev/null
    kill "$HISS_TEST_PULSE" 2>/dev/null
    wait "$HISS_TEST_PULSE" 2>/dev/null
    rm -rf "$room"
}
trap leave EXIT
for _ in $(seq 100); do
    pactl info >/dev/null 2>&1 && break
    sleep 0.05
done
if ! pactl info >/dev/null 2>&1; then
    echo "the sound server does not start:"
    cat "$room/pulse.log"
    exit 1
fi
"$@"
