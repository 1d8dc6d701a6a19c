# An answer that was cut off at its token limit may hold half a call: it does not run.
user    go
model   call bash {"command": "echo x > x.txt"}
model+  finish length
expect  event result outcome=error text~"cut off"
expect  no-event intent tool=bash
model   say I see.
expect  status 0
expect  no-file x.txt
user    again
model   say Half a sen
model+  finish length
expect  status 1
expect  event end outcome=failed why~"cut off"
user    and now
model   finish stop
expect  status 1
expect  event end outcome=failed why~"nothing"
user    once more
model   say no
model+  finish content_filter
expect  status 5
