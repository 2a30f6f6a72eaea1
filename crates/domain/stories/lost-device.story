# A device that goes silent counts as failed, and is believed when it returns.
fleet 10 devices
start waves 2 8, allow 0 failures, silence 1h
> r-1: Wave 1 of 2: 0 of 2 devices succeeded, 0 failed. Wave 2 opens at 2 succeeded; more than 0 failed stop it.
device 1 succeeds
> r-1: Wave 1 of 2: 1 of 2 devices succeeded, 0 failed. Wave 2 opens at 2 succeeded; more than 0 failed stop it.
device 2 fetches
after 59m
after 1m
> r-1: Paused: 1 failed in wave 1, 0 allowed. Resume or abort it, or roll it back.
why device 2
> [lost] fw@1.1 counts as failed on device 2: the device said nothing about it for 3600 s. It is believed if it comes back.
device 2 works
> refused: the action is closed
device 2 succeeds
> r-1: Paused: too many had failed in wave 1; now 0 have, 0 allowed. Resume or abort it, or roll it back.
resume
> r-1: Wave 2 of 2: 0 of 8 devices succeeded, 0 failed, 8 to go.
devices 3-10 succeed
> r-1: Finished: 10 of 10 devices succeeded.
