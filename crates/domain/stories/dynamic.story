# Devices that match later join the last wave.
fleet 3 devices
start waves 1 rest, dynamic
> r-1: Wave 1 of 2: 0 of 1 devices succeeded, 0 failed. Wave 2 opens at 1 succeeded; more than 0 failed stop it.
device 1 succeeds
> r-1: Wave 2 of 2: 0 of 2 devices succeeded, 0 failed, 2 to go.
devices 2-3 succeed
> r-1: Wave 2 of 2: 2 of 2 devices succeeded, 0 failed. Waits for devices that match later.
new device
> r-1: Wave 2 of 2: 2 of 3 devices succeeded, 0 failed, 1 to go.
why device 4
> [waits_for_device] fw@1.1 is on offer, and device 4 has not fetched it (last seen: never). It counts as failed if it says nothing until 2026-11-19T11:06:40.000Z.
device 4 succeeds
> r-1: Wave 2 of 2: 3 of 3 devices succeeded, 0 failed. Waits for devices that match later.
new device
> r-1: Wave 2 of 2: 3 of 4 devices succeeded, 0 failed, 1 to go.
device 5 fails: unknown board
> r-1: Paused: 1 failed in wave 2, 0 allowed. Resume or abort it, or roll it back.
resume
> r-1: Wave 2 of 2: 3 of 4 devices succeeded, 1 failed. Waits for devices that match later.
abort by bob
> r-1: Aborted by bob.
