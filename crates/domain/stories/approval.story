# Whoever made it can't approve it.
fleet 3 devices
start waves rest, with approval
> r-1: Waits for approval by somebody other than ada.
why device 1
> [idle] No rollout has selected device 1 yet.
approve by ada
> refused: its author can't approve it; somebody else with the permission rollouts:approve has to
approve by bob
> r-1: Wave 1 of 1: 0 of 3 devices succeeded, 0 failed, 3 to go.
approve by bob
> refused: it does not wait for approval
devices 1-3 succeed
> r-1: Finished: 3 of 3 devices succeeded.
