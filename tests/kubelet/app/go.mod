module pulsegate.test/app

go 1.21
