# Devices of which nothing is known can't be brought back, and that is said.
fleet 2 blank devices
start waves 1 rest, roll back on error
> r-1: Wave 1 of 2: 0 of 1 devices succeeded, 0 failed. Wave 2 opens at 1 succeeded; more than 0 failed stop it.
device 1 succeeds
> r-1: Wave 2 of 2: 0 of 1 devices succeeded, 0 failed, 1 to go.
device 2 fails: bad image
> r-1: Rolled back: 1 failed in wave 2, 0 allowed. 0 of 0 devices are back on their previous release. 1 stay as they are: they ran the release before, have no previous one, or were moved on meanwhile.
why device 1
> [cannot_go_back] device 1 took fw@1.1 and keeps it, because nothing is known of what it ran before; the rollout was rolled back: 1 failed in wave 2, 0 allowed.
what runs
> 1 devices run what nobody knows
> 1 devices run fw@1.1
