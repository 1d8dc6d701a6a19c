# The example of the conventions: a tool that fails is a result, and the model goes on.
user    what is in notes.txt?
model   call read {"path": "notes.txt"}
expect  event intent tool=read effect=pure
expect  event result outcome=error text~"cannot read"
model   say There is no such file.
expect  screen "There is no such file."
expect  status 0
expect  request tool "notes.txt"
