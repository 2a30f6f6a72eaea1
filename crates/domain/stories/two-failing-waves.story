# Resuming after one wave's failures forgives nothing that went wrong in another meanwhile.
fleet 10 devices
start waves 4 6, need 50%
> r-1: Wave 1 of 2: 0 of 4 devices succeeded, 0 failed. Wave 2 opens at 2 succeeded; more than 0 failed stop it.
devices 1-2 succeed
> r-1: Wave 2 of 2: 0 of 6 devices succeeded, 0 failed, 6 to go.
device 3 fails: flash worn out
> r-1: Paused: 1 failed in wave 1, 0 allowed. Resume or abort it, or roll it back.
device 5 fails: bad image
resume
> r-1: Paused: 1 failed in wave 2, 0 allowed. Resume or abort it, or roll it back.
resume
> r-1: Wave 2 of 2: 0 of 6 devices succeeded, 1 failed, 5 to go.
