# Limits end the session with status 4; a larger one lets it go on.
options --mode open --max-steps 2
user    go
model   call bash {"command": "echo 1"}
model   call bash {"command": "echo 2"}
model   say Done.
expect  status 4
expect  event end outcome=budget why~"--max-steps"
resume
expect  status 4
resume  --max-steps 9
expect  status 0
expect  screen "Done."
expect  event set limits.steps=9
expect  event end outcome=done
