// Command witness runs inside a guest of the lab and writes down what happens
// there: the ground truth a recording is compared with.
package main

func main() {}
