# What was observed for a step of the plan gives way to its outcome when the step is closed, if that saves enough; by an event that says so.
user    count them
model   call todo {"steps": [{"id": "a", "what": "count", "state": "doing"}, {"id": "b", "what": "small", "state": "doing"}]}
model   call bash {"command": "seq 1 3000"}
model+  call ask {"question": "Really?"}
expect  status 3
resume  --answer 8.2=Yes,really
model   call todo {"steps": [{"id": "a", "state": "done", "outcome": "there are 3000"}]}
model   call bash {"command": "echo little"}
expect  event compact step=a
expect  request tool "[folded: there are 3000]"
expect  request tool "The user answers: Yes,really"
expect  no-request tool "2999"
model   call todo {"steps": [{"id": "b", "state": "done", "outcome": "it is small"}]}
model   say Done.
expect  request tool "little"
expect  no-event compact step=b
expect  status 0
user    more
model   say Fine.
expect  request tool "[folded: there are 3000]"
expect  status 0
