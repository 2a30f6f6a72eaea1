# A gate that was unmet for a moment, even while paused, soaks in full again.
fleet 8 devices
start waves 4 4, need 50%, soak 2h, download only
> r-1: Wave 1 of 2: 0 of 4 devices succeeded, 0 failed. Wave 2 opens at 2 succeeded; more than 0 failed stop it.
devices 1-2 download
> r-1: Wave 1 of 2: 2 of 4 devices succeeded, 0 failed. Soaks until 2026-11-18T13:06:40.000Z, then wave 2 opens.
after 1h
device 2 fails: does not unpack
> r-1: Paused: 1 failed in wave 1, 0 allowed. Resume or abort it, or roll it back.
device 3 downloads
after 1h
resume
> r-1: Wave 1 of 2: 2 of 4 devices succeeded, 1 failed. Soaks until 2026-11-18T15:06:40.000Z, then wave 2 opens.
after 2h
> r-1: Wave 2 of 2: 0 of 4 devices succeeded, 0 failed, 4 to go.
