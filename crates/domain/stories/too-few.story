# A wave that ends short of its gate stops, though no more failed than it allows. Going on still waits for a hand.
fleet 10 devices
start waves 4 6, allow 2 failures, need 90%, by hand
> r-1: Wave 1 of 2: 0 of 4 devices succeeded, 0 failed. Wave 2 opens at 4 succeeded; more than 2 failed stop it.
devices 1-2 succeed
> r-1: Wave 1 of 2: 2 of 4 devices succeeded, 0 failed. Wave 2 opens at 4 succeeded; more than 2 failed stop it.
devices 3-4 fail: timeout
> r-1: Paused: wave 1 ended with 2 succeeded, 4 needed. Resume or abort it, or roll it back.
resume
> r-1: Wave 1 of 2: 2 of 4 devices succeeded, 2 failed. Its gate is met: open wave 2 by hand with next-wave.
why device 5
> [waits_for_wave] device 5 is in wave 2 of r-1, which is not open. Wave 1 of 2: 2 of 4 devices succeeded, 2 failed. Its gate is met: open wave 2 by hand with next-wave.
next wave
> r-1: Wave 2 of 2: 0 of 6 devices succeeded, 0 failed, 6 to go.
