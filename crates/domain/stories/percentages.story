# Shares are of the wave's devices, rounded in favour of care.
fleet 50 devices
start waves 40% rest, allow 10% failures, need 80%
> r-1: Wave 1 of 2: 0 of 20 devices succeeded, 0 failed. Wave 2 opens at 16 succeeded; more than 2 failed stop it.
devices 1-2 fail: checksum
> r-1: Wave 1 of 2: 0 of 20 devices succeeded, 2 failed. Wave 2 opens at 16 succeeded; more than 2 failed stop it.
devices 3-16 succeed
> r-1: Wave 1 of 2: 14 of 20 devices succeeded, 2 failed. Wave 2 opens at 16 succeeded; more than 2 failed stop it.
device 17 fails: checksum
> r-1: Paused: 3 failed in wave 1, 2 allowed. Resume or abort it, or roll it back.
resume
> r-1: Wave 1 of 2: 14 of 20 devices succeeded, 3 failed. Wave 2 opens at 16 succeeded; more than 3 failed stop it.
devices 18-19 succeed
> r-1: Wave 2 of 2: 0 of 30 devices succeeded, 0 failed, 30 to go.
device 20 succeeds
devices 21-45 succeed
> r-1: Wave 2 of 2: 25 of 30 devices succeeded, 0 failed, 5 to go.
devices 46-48 fail: checksum
> r-1: Wave 2 of 2: 25 of 30 devices succeeded, 3 failed, 2 to go.
devices 49-50 succeed
> r-1: Finished: 44 of 50 devices succeeded, 6 failed. Retry the failed ones, or look into them with why.
