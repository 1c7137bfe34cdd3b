autocmd BufRead,BufNewFile *.path setfiletype path
