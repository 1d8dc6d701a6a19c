# What a model gets wrong is a result with one sentence; nothing runs, and the request that follows is legal.
user    go
model   call teleport {"to": "mars"}
model+  call bash {"command": "echo half > half.txt
model+  call bash ["not an object"]
model+  call bash {"cmd": "x"}
model+  call read {"path": 7}
model+  call bash {"command": "true", "timeout": 100000}
expect  event result outcome=error text~"there is no tool \"teleport\""
expect  event result outcome=error text~"the arguments are cut off"
expect  event result outcome=error text~"not a JSON object"
expect  event result outcome=error text~"it has no \"cmd\"; it takes command"
expect  event result outcome=error text~"path has to be a string, and is an integer"
expect  event result outcome=error text~"timeout may be at most 600"
model   say Sorry.
expect  status 0
expect  no-file half.txt
expect  request tool "The tools are: read write edit grep glob outline bash"
