# What fails while a person has paused it is judged when it goes on.
fleet 10 devices
start waves 2 8, allow 0 failures, roll back on error
> r-1: Wave 1 of 2: 0 of 2 devices succeeded, 0 failed. Wave 2 opens at 2 succeeded; more than 0 failed stop it.
device 1 succeeds
> r-1: Wave 1 of 2: 1 of 2 devices succeeded, 0 failed. Wave 2 opens at 2 succeeded; more than 0 failed stop it.
pause by bob
> r-1: Paused: by bob. Resume or abort it, or roll it back.
device 2 fails: no network
why device 3
> [waits_for_person] device 3 is in wave 2 of r-1. Paused: by bob. Resume or abort it, or roll it back.
resume
> r-1: Rolling back: 1 failed in wave 1, 0 allowed. 0 of 1 devices are back.
device 1 succeeds
> r-1: Rolled back: 1 failed in wave 1, 0 allowed. 1 of 1 devices are back on their previous release.
what runs
> 10 devices run fw@1.0
