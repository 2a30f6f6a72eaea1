# A person opens each wave, and may do so before its gate is met.
fleet 10 devices
start waves 2 3 5, by hand, soak 1h
> r-1: Wave 1 of 3: 0 of 2 devices succeeded, 0 failed. Wave 2 opens at 2 succeeded; more than 0 failed stop it.
devices 1-2 succeed
> r-1: Wave 1 of 3: 2 of 2 devices succeeded, 0 failed. Soaks until 2026-11-18T12:06:40.000Z, then open wave 2 by hand with next-wave.
next wave
> r-1: Wave 2 of 3: 0 of 3 devices succeeded, 0 failed. Wave 3 opens at 3 succeeded; more than 0 failed stop it.
device 3 succeeds
> r-1: Wave 2 of 3: 1 of 3 devices succeeded, 0 failed. Wave 3 opens at 3 succeeded; more than 0 failed stop it.
after 1h
next wave
> r-1: Wave 3 of 3: 0 of 5 devices succeeded, 0 failed, 5 to go.
next wave
> refused: its last wave is open already
devices 4-10 succeed
> r-1: Finished: 10 of 10 devices succeeded.
