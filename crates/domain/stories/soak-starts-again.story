# Success that is taken back ends the soak; when the gate is met again, it soaks in full.
fleet 8 devices
start waves 4 4, need 50%, allow 1 failures, soak 2h, download only
> r-1: Wave 1 of 2: 0 of 4 devices succeeded, 0 failed. Wave 2 opens at 2 succeeded; more than 1 failed stop it.
devices 1-2 download
> r-1: Wave 1 of 2: 2 of 4 devices succeeded, 0 failed. Soaks until 2026-11-18T13:06:40.000Z, then wave 2 opens.
after 1h
device 2 fails: does not unpack
> r-1: Wave 1 of 2: 1 of 4 devices succeeded, 1 failed. Wave 2 opens at 2 succeeded; more than 1 failed stop it.
after 2h
device 3 downloads
> r-1: Wave 1 of 2: 2 of 4 devices succeeded, 1 failed. Soaks until 2026-11-18T16:06:40.000Z, then wave 2 opens.
after 1h
after 1h
> r-1: Wave 2 of 2: 0 of 4 devices succeeded, 0 failed, 4 to go.
