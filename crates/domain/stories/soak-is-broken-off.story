# A failure while soaking stops it; going on doesn't make it soak again from the start.
fleet 20 devices
start waves 10 10, need 50%, soak 2h
> r-1: Wave 1 of 2: 0 of 10 devices succeeded, 0 failed. Wave 2 opens at 5 succeeded; more than 0 failed stop it.
devices 1-5 succeed
> r-1: Wave 1 of 2: 5 of 10 devices succeeded, 0 failed. Soaks until 2026-11-18T13:06:40.000Z, then wave 2 opens.
after 1h
device 6 fails: watchdog
> r-1: Paused: 1 failed in wave 1, 0 allowed. Resume or abort it, or roll it back.
after 3h
resume
> r-1: Wave 2 of 2: 0 of 10 devices succeeded, 0 failed, 10 to go.
device 7 fails: watchdog
> r-1: Paused: 2 failed in wave 1, 1 allowed. Resume or abort it, or roll it back.
