module treehead.example/verify

go 1.22

require treehead.example/treehead v0.0.0

replace treehead.example/treehead => ../../capi/bindings/go
