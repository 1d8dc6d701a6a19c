# The reservation is made before the request leaves: the second one would not fit.
options --mode open --budget-tokens 9000
user    go
model   call bash {"command": "echo 1"}
model+  usage 3000 500
model   say Done.
expect  status 4
expect  event end outcome=budget tokens_in=3000 tokens_out=500
