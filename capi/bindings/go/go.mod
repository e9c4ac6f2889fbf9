module treehead.example/treehead

go 1.22
