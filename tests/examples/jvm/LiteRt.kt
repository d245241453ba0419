// A stand-in for LiteRT, as much of it as examples/android/TapTracker.kt calls: engine.py computes.

package com.google.ai.edge.litert

import java.io.DataInputStream
import java.io.DataOutputStream

enum class Accelerator { CPU }

class TensorBuffer(private val size: Int) : AutoCloseable {
    private var data: FloatArray? = FloatArray(size)

    fun writeFloat(values: FloatArray) {
        check(data != null) { "written after it was closed" }
        check(values.size == size) { "${values.size} values for a tensor of $size" }
        data = values.copyOf()
    }

    fun readFloat() = checkNotNull(data) { "read after it was closed" }.copyOf()

    override fun close() {
        check(data != null) { "closed twice" }
        data = null
    }
}

class CompiledModel private constructor(path: String) : AutoCloseable {
    class Options(vararg val accelerators: Accelerator)

    private val process = ProcessBuilder(System.getProperty("python"), System.getProperty("engine"), path)
        .redirectError(ProcessBuilder.Redirect.INHERIT).start()
    private val to = DataOutputStream(process.outputStream.buffered())
    private val from = DataInputStream(process.inputStream.buffered())

    fun createInputBuffer(name: String, signature: String? = null) = TensorBuffer(sizeOf(name, signature!!))

    fun createOutputBuffer(name: String, signature: String? = null) = TensorBuffer(sizeOf(name, signature!!))

    fun run(inputs: Map<String, TensorBuffer>, outputs: Map<String, TensorBuffer>, signature: String? = null) {
        val all = inputs.values + outputs.values
        check(all.toSet().size == all.size) { "one buffer is used for two tensors" }
        to.writeUTF("run")
        to.writeUTF(signature!!)
        to.writeInt(inputs.size)
        for ((name, buffer) in inputs) {
            val values = buffer.readFloat()
            to.writeUTF(name)
            to.writeInt(values.size)
            values.forEach { to.writeFloat(it) }
        }
        to.flush()
        check(from.readInt() == outputs.size) { "not all outputs have a buffer" }
        repeat(outputs.size) {
            val buffer = outputs.getValue(from.readUTF())
            buffer.writeFloat(FloatArray(from.readInt()) { from.readFloat() })
        }
    }

    override fun close() {
        to.close()
        check(process.waitFor() == 0) { "the engine failed" }
    }

    private fun sizeOf(name: String, signature: String): Int {
        to.writeUTF("size")
        to.writeUTF(signature)
        to.writeUTF(name)
        to.flush()
        return from.readInt()
    }

    companion object {
        fun create(filePath: String, options: Options) = CompiledModel(filePath)
    }
}
