# A gate that is met soaks before the next wave opens.
fleet 20 devices
start waves 10 10, need 50%, soak 2h
> r-1: Wave 1 of 2: 0 of 10 devices succeeded, 0 failed. Wave 2 opens at 5 succeeded; more than 0 failed stop it.
devices 1-5 succeed
> r-1: Wave 1 of 2: 5 of 10 devices succeeded, 0 failed. Soaks until 2026-11-18T13:06:40.000Z, then wave 2 opens.
why device 11
> [waits_for_wave] device 11 is in wave 2 of r-1, which is not open. Wave 1 of 2: 5 of 10 devices succeeded, 0 failed. Soaks until 2026-11-18T13:06:40.000Z, then wave 2 opens.
after 1h
device 6 succeeds
> r-1: Wave 1 of 2: 6 of 10 devices succeeded, 0 failed. Soaks until 2026-11-18T13:06:40.000Z, then wave 2 opens.
after 59m
after 1m
> r-1: Wave 2 of 2: 0 of 10 devices succeeded, 0 failed, 10 to go.
