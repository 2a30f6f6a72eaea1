# Resuming forgives what the pause named, and nothing else.
fleet 20 devices
start waves 5 15, allow 0 failures, need 20%
> r-1: Wave 1 of 2: 0 of 5 devices succeeded, 0 failed. Wave 2 opens at 1 succeeded; more than 0 failed stop it.
device 1 fails: flash worn out
> r-1: Paused: 1 failed in wave 1, 0 allowed. Resume or abort it, or roll it back.
devices 2-3 fail: flash worn out
> r-1: Paused: 3 failed in wave 1, 0 allowed. Resume or abort it, or roll it back.
resume
> r-1: Wave 1 of 2: 0 of 5 devices succeeded, 3 failed. Wave 2 opens at 1 succeeded; more than 3 failed stop it.
device 4 succeeds
> r-1: Wave 2 of 2: 0 of 15 devices succeeded, 0 failed, 15 to go.
device 5 fails: flash worn out
> r-1: Paused: 4 failed in wave 1, 3 allowed. Resume or abort it, or roll it back.
