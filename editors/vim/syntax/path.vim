" Vim syntax file for .path models, made from the grammar: do not edit.
if exists("b:current_syntax")
  finish
endif
syntax case match
syntax match pathKeyword /^\%(pathc\|use\|let\|model\|input\|layer\|output\|paths\|dense\|skip\|target\)\>/
syntax keyword pathWord abs avgpool band batchnorm bf16 bias bit channelshuffle concat conv diag dim expander explicit f16 f32 fix full grouped gru hadamard halves hardtanh i16 i32 i4 i8 identity indrnn interleaver kwinners leaky ligru linear lstm mask maxpool ode parity paths pick positive prernn qrnn random relu ring rnn shortcut shuffle sigmoid sobol softmax sparse sru steps t2 tanh u8
syntax match pathNumber /\<\d[0-9A-Za-z_.]*\%(\s*\%([KMG]i\?B\|[kMG]\?Hz\|[mun]\?s\|%\)\)\?/
syntax match pathOperator /->\|[-+*\/=|@:]/
syntax region pathString start=/"/ skip=/\\./ end=/"/ oneline
syntax match pathComment /#.*$/
highlight default link pathKeyword Statement
highlight default link pathWord Function
highlight default link pathNumber Number
highlight default link pathOperator Operator
highlight default link pathString String
highlight default link pathComment Comment
let b:current_syntax = "path"
