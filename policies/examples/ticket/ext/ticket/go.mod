module ticket

go 1.24
