# What was downloaded counts as success, and is taken back if the install fails later.
fleet 4 devices
start waves 2 rest, download only
> r-1: Wave 1 of 2: 0 of 2 devices succeeded, 0 failed. Wave 2 opens at 2 succeeded; more than 0 failed stop it.
device 1 downloads
> r-1: Wave 1 of 2: 1 of 2 devices succeeded, 0 failed. Wave 2 opens at 2 succeeded; more than 0 failed stop it.
why device 1
> [downloaded] device 1 has downloaded fw@1.1; it was not asked to install it.
device 1 fails: does not unpack
> r-1: Paused: 1 failed in wave 1, 0 allowed. Resume or abort it, or roll it back.
