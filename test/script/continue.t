# A session that is done goes on with a new message, and its requests only grow.
user    first
model   say One.
expect  status 0
resume
expect  status 0
expect  screen "is done"
user    second
model   think hmm
model+  say Two.
expect  status 0
expect  screen "Two."
expect  request user "first"
expect  request assistant "One."
expect  request user "second"
user    third
model   say Three.
expect  request assistant "reasoning_content"
