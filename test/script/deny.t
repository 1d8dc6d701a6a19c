# A person says no: the model is told, and nothing happens.
options --mode ask
user    delete everything
model   call bash {"command": "echo gone > gone.txt"}
expect  status 3
resume  --answer all=no
model   say I did not do it.
expect  status 0
expect  event result outcome=denied text~"Denied"
expect  no-file gone.txt
